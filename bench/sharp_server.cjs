// Shrinks photographs with sharp and does nothing else: one process for each core, POST {"image": base64} -> {"pixels": base64}.
// Usage: NODE_PATH=FOLDER/node_modules node sharp_server.cjs PORT PROCESSES
const cluster = require("node:cluster");
const http = require("node:http");

const [port, processes] = process.argv.slice(2).map(Number);

if (cluster.isPrimary) {
  for (let started = 0; started < processes; started++) cluster.fork();
} else {
  const sharp = require("sharp");
  sharp.concurrency(1); // there is a process for each core
  sharp.cache(false);
  http
    .createServer((request, response) => {
      const chunks = [];
      request.on("data", (chunk) => chunks.push(chunk));
      request.on("end", async () => {
        try {
          const image = Buffer.from(JSON.parse(Buffer.concat(chunks)).image, "base64");
          const pixels = await sharp(image).resize(80, 40, { fit: "fill" }).greyscale().raw().toBuffer();
          const body = JSON.stringify({ pixels: pixels.toString("base64") });
          response.writeHead(200, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
          response.end(body);
        } catch (error) {
          response.writeHead(400, { "Content-Length": 0 });
          response.end();
        }
      });
    })
    .listen(port, "127.0.0.1");
}
