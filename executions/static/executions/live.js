// While an execution is not over, its page follows the server's events and shows the end when it comes.
document.addEventListener("DOMContentLoaded", () => {
  const marker = document.querySelector("[data-events]");
  if (!marker || !marker.dataset.events) return;
  followToTheEnd(marker.dataset.events, (state) => {
    marker.textContent = state;
  });
});
