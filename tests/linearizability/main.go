// Command linearizability tells whether a history of reads, writes and compare-and-set on numbered registers could
// have come from one copy of the data.
//
// It reads one operation a line from standard input, see Operation, and prints a Verdict as JSON. It ends with 0 when
// the history is linearizable, 1 when it is not, 2 when it is no history, 3 when the time was not enough to tell.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

func main() {
	limit := flag.Duration("limit", time.Minute, "time for the whole check; what is not decided by then is reported as undecided")
	flag.Parse()
	os.Exit(run(os.Stdin, os.Stdout, os.Stderr, *limit))
}

func run(in io.Reader, out, complaints io.Writer, limit time.Duration) int {
	history, err := read(in)
	if err != nil {
		fmt.Fprintln(complaints, "error:", err)
		return 2
	}
	verdict := check(history, limit)
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(verdict); err != nil {
		fmt.Fprintln(complaints, "error:", err)
		return 2
	}
	switch verdict.Verdict {
	case linearizable:
		return 0
	case violation:
		return 1
	default:
		return 3
	}
}
