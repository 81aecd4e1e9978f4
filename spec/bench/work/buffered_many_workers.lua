return {
  name = "one way, capacity 1024, workers, batches of 64", unit = "ns", n = 8000000, carriers = { 1, 2 },
  floor = "buffer", target = { { go = 1.0 } },
  run = require "many"(require "lubdub".spawn),
}
