local stream = require "stream"

return {
  name = "64-byte string to a worker", unit = "ns", n = 1000000, carriers = { 1, 2 }, floor = "buffer",
  target = {},
  run = stream.workers(1024, function() return "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" end),
}
