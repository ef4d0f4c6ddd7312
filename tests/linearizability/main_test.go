package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// Each operation takes 5, and the next begins at 10 more, unless a line says otherwise.
const (
	written = `{"client":1,"key":"k","kind":"write","input":%d,"outcome":"done","call":%d,"return":%d}` + "\n"
	seen    = `{"client":2,"key":"k","kind":"read","output":%d,"outcome":"done","call":%d,"return":%d}` + "\n"
	unknown = `{"client":3,"key":"k","kind":"write","input":%d,"outcome":"unknown","call":%d}` + "\n"
	swapped = `{"client":4,"key":"k","kind":"cas","expected":%d,"input":%d,"outcome":"%s","call":%d,"return":%d}` + "\n"
)

func write(number, call int) string { return fmt.Sprintf(written, number, call, call+5) }
func see(number, call int) string   { return fmt.Sprintf(seen, number, call, call+5) }
func cas(expected, number int, outcome string, call int) string {
	return fmt.Sprintf(swapped, expected, number, outcome, call, call+5)
}

func verdict(t *testing.T, history string, limit time.Duration) (int, Verdict) {
	t.Helper()
	var out, complaints bytes.Buffer
	code := run(strings.NewReader(history), &out, &complaints, limit)
	var verdict Verdict
	if code != 2 {
		if err := json.Unmarshal(out.Bytes(), &verdict); err != nil {
			t.Fatal(err)
		}
	}
	return code, verdict
}

func TestHistories(t *testing.T) {
	for name, of := range map[string]struct {
		history string
		code    int
		// How many operations a violation is shown with.
		excerpt int
	}{
		"good":                        {see(0, 0) + write(1, 10) + see(1, 20) + cas(1, 2, "done", 30) + cas(1, 3, "refused", 40) + see(2, 50), 0, 0},
		"either order of two at once": {write(1, 10) + write(2, 11) + see(1, 20) + see(1, 30), 0, 0},
		"lost write":                  {write(1, 10) + see(1, 20) + write(2, 30) + see(1, 40) + see(1, 50), 1, 3},
		"everything lost":             {write(1, 10) + write(2, 20) + see(0, 30), 1, 2},
		"stale read":                  {write(1, 10) + write(2, 20) + see(2, 30) + see(1, 40) + see(2, 50), 1, 3},
		"never written":               {write(1, 10) + see(7, 20), 1, 1},
		"lost cas":                    {write(1, 10) + cas(1, 2, "done", 20) + see(1, 30), 1, 3},
		"two cas that both win":       {write(1, 10) + cas(1, 2, "done", 20) + cas(1, 3, "done", 21), 1, 3},
		"cas refused for no reason":   {write(1, 10) + cas(1, 2, "refused", 20), 1, 2},
		"cas of what is there no more": {
			write(1, 10) + write(2, 20) + cas(1, 3, "done", 30), 1, 3,
		},
		"unknown write shows up later": {write(1, 0) + fmt.Sprintf(unknown, 2, 10) + see(1, 20) + see(1, 30) + see(2, 40), 0, 0},
		"unknown write never shows up": {write(1, 0) + fmt.Sprintf(unknown, 2, 10) + see(1, 20) + write(3, 30) + see(3, 40), 0, 0},
		"unknown write shows up, and is gone": {
			write(1, 0) + fmt.Sprintf(unknown, 2, 10) + see(2, 20) + see(1, 30), 1, 4,
		},
		"unknown write cannot show up before its call": {
			write(1, 0) + see(2, 10) + fmt.Sprintf(unknown, 2, 20), 1, 1,
		},
		"unknown cas, done": {
			write(1, 0) + `{"client":3,"key":"k","kind":"cas","expected":1,"input":2,"outcome":"unknown","call":10}` + "\n" + see(2, 20), 0, 0,
		},
		"unknown cas, not done": {
			write(1, 0) + `{"client":3,"key":"k","kind":"cas","expected":1,"input":2,"outcome":"unknown","call":10}` + "\n" + see(1, 20), 0, 0,
		},
		"other keys are others": {write(1, 0) + strings.ReplaceAll(see(0, 10), `"k"`, `"other"`), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			code, verdict := verdict(t, of.history, time.Minute)
			if code != of.code {
				t.Fatalf("%d instead of %d: %+v", code, of.code, verdict)
			}
			if code == 1 && len(verdict.Violations[0].Excerpt) != of.excerpt {
				t.Errorf("%d operations shown instead of %d: %+v", len(verdict.Violations[0].Excerpt), of.excerpt, verdict.Violations[0].Excerpt)
			}
		})
	}
}

func TestWhatIsNoHistory(t *testing.T) {
	for part, history := range map[string]string{
		"nothing was recorded":    "",
		"line 2":                  write(1, 10) + "{",
		"kind \"put\"":            strings.Replace(write(1, 10), "write", "put", 1),
		"never refused":           strings.Replace(write(1, 10), "done", "refused", 1),
		"was written to \"k\"":    write(1, 10) + cas(0, 1, "done", 20),
		"begin with 1":            write(0, 10),
		"before its call":         fmt.Sprintf(written, 1, 10, 9),
		"has not returned":        strings.Replace(write(1, 10), "done", "unknown", 1),
		"unknown field \"value\"": strings.Replace(write(1, 10), "input", "value", 1),
	} {
		var out, complaints bytes.Buffer
		if code := run(strings.NewReader(history), &out, &complaints, time.Minute); code != 2 {
			t.Errorf("%q: %d", part, code)
		}
		if !strings.Contains(complaints.String(), part) {
			t.Errorf("%q is not in %q", part, complaints.String())
		}
	}
}

func TestTooLittleTimeIsToldApart(t *testing.T) {
	if code, verdict := verdict(t, write(1, 10), 0); code != 3 || len(verdict.Undecided) != 1 {
		t.Errorf("%d: %+v", code, verdict)
	}
}

// A key as the recorder fills it: three clients, three hundred operations, six writes that nobody knows of.
func TestAKeyOfTheRecorderIsDecidedAtOnce(t *testing.T) {
	var good strings.Builder
	last := 0
	for i := range 300 {
		call := i * 10
		switch {
		case i%50 == 7:
			fmt.Fprintf(&good, unknown, 1000+i, call)
		case i%3 == 0:
			last = i + 1
			good.WriteString(write(last, call))
		default:
			good.WriteString(see(last, call))
		}
	}
	bad := good.String() + see(last-3, 4000)
	started := time.Now()
	if code, _ := verdict(t, good.String(), time.Minute); code != 0 {
		t.Errorf("the good one: %d", code)
	}
	code, verdict := verdict(t, bad, time.Minute)
	if code != 1 || len(verdict.Violations[0].Excerpt) > 4 {
		t.Errorf("the bad one: %d, %+v", code, verdict)
	}
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}
