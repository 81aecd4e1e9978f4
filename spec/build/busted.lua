-- busted for any interpreter: the command that distributions install names one of its own.
require "busted.runner" { standalone = false }
