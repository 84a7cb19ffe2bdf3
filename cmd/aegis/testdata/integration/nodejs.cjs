// Serves the metrics of this process, by prom-client, on a Unix socket.
const http = require("node:http");
const { collectDefaultMetrics, register } = require("prom-client");

collectDefaultMetrics();

const server = http.createServer(async (request, response) => {
  if (request.url !== "/metrics") {
    response.writeHead(404).end();
    return;
  }
  response.setHeader("Content-Type", register.contentType);
  response.end(await register.metrics());
});
server.listen(process.argv[2]);
