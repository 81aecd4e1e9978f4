local stream = require "stream"

return {
  name = "one-way rendezvous, small table, workers", unit = "ns", n = 200000, carriers = { 1, 2 }, floor = "copy",
  target = {},
  run = stream.workers(0, stream.row),
}
