# A hash-pinned lock without some of its packages: awk -v names="triton pandas" -f without.awk requirements.lock
# A package is a line `name==version ...` and the indented lines below it. A name that the lock does not hold is an error.
BEGIN { count = split(names, listed, " "); for (i = 1; i <= count; i++) drop[listed[i]] = 1 }
/^[a-z0-9]/ { name = $1; sub(/==.*/, "", name); skip = (name in drop); if (skip) found[name] = 1 }
/^#/ { skip = 0 }
!skip { print }
END {
  for (name in drop) if (!(name in found)) { print "the lock has no " name > "/dev/stderr"; bad = 1 }
  exit bad
}
