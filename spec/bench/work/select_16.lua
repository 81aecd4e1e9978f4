return {
  name = "select over 16, a sender each", unit = "ns", n = 300000, carriers = { 1 }, floor = "switch",
  target = { { go = 0.5 } },
  run = require "selection" (16),
}
