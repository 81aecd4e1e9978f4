std = "lua54"
files["spec/bindings"] = { std = "lua54+busted" }
max_line_length = 120
