local lub = require "lubdub"

return {
  name = "a command that begins and ends", unit = "ms", n = 50, cold = true, carriers = { 2 },
  of_commands = true,
  target = {},
  run = function(n, command)
    local start = lub.now()
    assert(os.execute(("i=0; while [ $i -lt %d ]; do %s || exit; i=$((i + 1)); done"):format(n, command)))
    return lub.now() - start, n
  end,
}
