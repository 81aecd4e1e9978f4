local stream = require "stream"

return {
  name = "small table, capacity 1024, workers", unit = "ns", n = 200000, carriers = { 1, 2 }, floor = "copy",
  target = { { value = 1500 }, { value = 1500 } }, mailbox = true,
  run = stream.workers(1024, stream.row),
}
