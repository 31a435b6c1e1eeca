#!/usr/bin/env bash
# Lists every row of docs/coverage.md with the tests that say `// covers: ID`, then the rows
# that have none. With a file of lines "TEST ok|FAILED|ignored|skipped", fails for each row marked
# *works* of which no test passed, and for each test that covers a row which does not exist.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

find crates e2e -name '*.rs' -not -path '*/target/*' -print0 | sort -z | xargs -0 awk '
  FNR == 1 { rows = "" }
  match($0, /^[ \t]*\/\/ covers: */) { rows = rows " " substr($0, RLENGTH + 1); next }
  rows != "" && match($0, /fn [a-z0-9_]+/) {
    test = substr($0, RSTART + 3, RLENGTH - 3)
    gsub(/,/, " ", rows)
    n = split(rows, ids, " ")
    for (i = 1; i <= n; i++) print ids[i], test, FILENAME
    rows = ""
  }' | awk -v results="${1-}" '
  BEGIN { while (results != "" && (getline line < results) > 0) { split(line, f, " "); note(f[1], f[2]) } }
  FILENAME == "-" {
    tests[$1] = tests[$1] "\n          " $2 "  (" $3 ")"
    if (outcome[$2] == "ok") passing[$1]++
    covered[$1] = $3
    next
  }
  /^\| *[0-9]+-[0-9]+ *\|/ {
    n = split($0, cell, / *\| */)
    id = cell[2]; state = cell[n - 1]; known[id] = 1; total++
    split(state, word, /[^a-z]/); count[word[1]]++
    if (word[1] !~ /^(works|open|unverified)$/) problem("row " id " has no state: " state)
    if (results == "") {
      if (id in tests) print sprintf("%-6s %-11s", id, word[1]) substr(tests[id], 2 + length("          "))
      else without = without " " id
    } else if (word[1] == "works" && !passing[id]) problem("row " id " is marked works, but no test of it passed")
  }
  # Several files may have a test of one name: the worst outcome counts for all of them.
  function note(test, result) { if (!(test in outcome) || outcome[test] == "ok") outcome[test] = result }
  function problem(text) { print "coverage: " text > "/dev/stderr"; problems++ }
  END {
    for (id in covered) if (!(id in known)) problem(covered[id] " covers row " id ", which does not exist")
    if (results == "") {
      print "rows without a test:" without
      printf "%d rows: %d work, %d open, %d unverified\n", total, count["works"], count["open"], count["unverified"]
    }
    exit problems > 0
  }' - docs/coverage.md
