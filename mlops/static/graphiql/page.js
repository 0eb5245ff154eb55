"use strict";
// GraphiQL with the session of whoever opened the page, or with the Authorization that is typed among the headers.
const place = document.getElementById("graphiql");
const socket = new URL(place.dataset.socket, window.location.href);
socket.protocol = socket.protocol.replace("http", "ws");

// Each subscription has a connection of its own, since a connection keeps the credentials that it began with.
function fetcher(asked, options) {
  const ask = GraphiQL.createFetcher({
    url: place.dataset.address,
    headers: { "X-CSRFToken": place.dataset.token },
    wsClient: graphqlWs.createClient({ url: socket.href, lazy: true, connectionParams: credentials(options.headers) }),
  });
  return ask(asked, { ...options, documentAST: parsed(asked.query) });
}

function credentials(headers = {}) {
  const name = Object.keys(headers).find((header) => header.toLowerCase() === "authorization");
  return name ? { Authorization: headers[name] } : {};
}

// GraphiQL looks at what was typed a moment ago to tell subscriptions from the rest.
function parsed(query) {
  try {
    return GraphiQL.GraphQL.parse(query);
  } catch {
    return null; // the server says what is wrong
  }
}

ReactDOM.render(React.createElement(GraphiQL, { fetcher, defaultQuery: place.dataset.query }), place);
