// Node: arguments port, public text, guarded text, and how the path is read.
const http = require("http");
const path = require("path");
const legacy = require("url");

const [port, open, guarded, how] = process.argv.slice(2);

const readings = {
  url: (target) => new URL(target, "http://h").pathname,
  decoded: (target) => path.posix.normalize(decodeURIComponent(new URL(target, "http://h").pathname)),
  legacy: (target) => path.posix.normalize(decodeURIComponent(legacy.parse(target).pathname)),
  windows: (target) => path.win32.normalize(decodeURIComponent(legacy.parse(target).pathname)).replace(/\\/g, "/"),
};

http
  .createServer((request, response) => {
    let name;
    try {
      name = readings[how](request.url);
    } catch {
      response.writeHead(400).end();
      return;
    }
    const under = (start) => name === start || name.startsWith(start + "/");
    const text = under("/admin") ? guarded : under("/public") ? open : null;
    response.writeHead(text === null ? 404 : 200, { "content-type": "text/plain" }).end(text ?? "nothing");
  })
  .listen(Number(port), "127.0.0.1");
