"use strict";
// GraphiQL with the session of whoever opened the page; subscriptions come over WebSocket with the same session.
const place = document.getElementById("graphiql");
const socket = new URL(place.dataset.socket, window.location.href);
socket.protocol = socket.protocol.replace("http", "ws");
const ask = GraphiQL.createFetcher({
  url: place.dataset.address,
  headers: { "X-CSRFToken": place.dataset.token },
  wsClient: graphqlWs.createClient({ url: socket.href, lazy: true }),
});

// GraphiQL looks at what was typed a moment ago to tell subscriptions from the rest.
function fetcher(asked, options) {
  let documentAST = null;
  try {
    documentAST = GraphiQL.GraphQL.parse(asked.query);
  } catch {
    // the server says what is wrong
  }
  return ask(asked, { ...options, documentAST });
}

ReactDOM.render(React.createElement(GraphiQL, { fetcher, defaultQuery: place.dataset.query }), place);
