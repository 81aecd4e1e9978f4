return {
  name = "select over 2, a sender each", unit = "ns", n = 300000, carriers = { 1 }, floor = "switch",
  target = { { go = 1.3 } },
  run = require "selection" (2),
}
