-- A pulse every so often, more or less, so that many hearts do not beat in step.
--   every   seconds on average, more than 0
--   jitter  by which part of it an interval may be longer or shorter, 0 to 1 (default 0.25); uniformly
--   seed    a whole number: the same seed gives the same intervals (default: another one each time)
local options = require "lubdub.options"
local random_source = require "lubdub.random"

return function(opts)
  local o = options("jittered", opts, {
    every = options.required(options.positive()), jitter = options.seconds(0.25), seed = options.integer(),
  })
  if o.jitter > 1 then options.refuse("jittered", "jitter", "a number from 0 to 1", o.jitter) end
  local random = random_source(o.seed)
  return function() return o.every * (1 + o.jitter * (1 - 2 * random())) end -- never 0, not even with a jitter of 1
end
