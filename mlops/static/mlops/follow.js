// Follow the server's events of a row that is not over: its states are told, and its end loads the page anew, which shows all.
const followToTheEnd = (address, tell) => {
  const source = new EventSource(address);
  source.addEventListener("state", (event) => {
    const { state } = JSON.parse(event.data);
    if (state === "pending" || state === "running") {
      tell(state);
    } else {
      source.close();
      window.location.reload();
    }
  });
};
