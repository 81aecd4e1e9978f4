-- The lines of a file, or of what a command prints, without their newlines.
--   path     of the file; it must be there when the generator is made
--   command  for the shell, instead of a path; if it fails, that is an error after its last line
-- A read of a slow pipe waits in C: the other fibers of its worker wait too. Give it a worker of its own.
-- A `for` loop closes the file also when it is left early.
local options = require "lubdub.options"

return function(opts)
  local o = options("lines", opts, { path = options.text(), command = options.text() })
  local name, open = "path", io.open
  if o.command then name, open = "command", io.popen end
  if o.path and o.command or not o[name] then options.refuse("lines", "path", "either a path or a command", o.path) end
  local file, why = open(o[name])
  if not file then options.refuse("lines", name, "what can be read (" .. why .. ")", o[name]) end

  local function fail(what) error(("lines: %s: %s"):format(o[name], what), 0) end

  local function next_line()
    if io.type(file) ~= "file" then return nil end
    local line, trouble = file:read()
    if line then return line end
    local ok, how, code = file:close()
    if trouble then fail(trouble) end
    if not ok then fail(o.command and how .. " " .. code or how) end
    return nil
  end
  return next_line, nil, nil, file
end
