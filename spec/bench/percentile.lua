--- The value of a sorted list below which a share p of it lies.
return function(sorted, p) return sorted[math.max(1, math.ceil(#sorted * p))] end
