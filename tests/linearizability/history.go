package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// Operation is one line of a history. A register holds a number, 0 where its key is not there, and no number is
// written twice to one key: a number stands for what an ETag names. The times are nanoseconds of one monotonic clock.
type Operation struct {
	Client int    `json:"client"`
	Key    string `json:"key"`
	// Kind is read, write or cas.
	Kind string `json:"kind"`
	// Input is the number that a write or cas puts there.
	Input int64 `json:"input,omitempty"`
	// Expected is the number that a cas replaces.
	Expected int64 `json:"expected,omitempty"`
	// Outcome is done, refused (of a cas only: another number was there) or unknown.
	Outcome string `json:"outcome"`
	// Output is the number that a read saw.
	Output int64 `json:"output"`
	Call   int64 `json:"call"`
	// Return is left out where the outcome is unknown: it may have happened at any time after the call, or never.
	Return int64 `json:"return,omitempty"`
}

// read gives the operations of each key.
func read(in io.Reader) (map[string][]Operation, error) {
	history := map[string][]Operation{}
	written := map[string]map[int64]bool{}
	lines := bufio.NewScanner(in)
	number := 0
	for lines.Scan() {
		number++
		decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		decoder.DisallowUnknownFields()
		var operation Operation
		err := decoder.Decode(&operation)
		if err == nil {
			err = operation.validate()
		}
		if err == nil && operation.Kind != "read" {
			if written[operation.Key] == nil {
				written[operation.Key] = map[int64]bool{}
			}
			if written[operation.Key][operation.Input] {
				err = fmt.Errorf("%d was written to %q before: each write needs a number of its own", operation.Input, operation.Key)
			}
			written[operation.Key][operation.Input] = true
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if operation.Outcome == "unknown" {
			operation.Return = math.MaxInt64
		}
		history[operation.Key] = append(history[operation.Key], operation)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if number == 0 {
		return nil, errors.New("the history is empty: nothing was recorded")
	}
	return history, nil
}

func (o *Operation) validate() error {
	switch o.Kind {
	case "read":
		if o.Input != 0 || o.Expected != 0 {
			return errors.New("a read has neither input nor expected")
		}
	case "write", "cas":
		if o.Input <= 0 {
			return fmt.Errorf("input %d: numbers that are written begin with 1", o.Input)
		}
		if o.Kind == "write" && o.Expected != 0 {
			return errors.New("a write expects nothing")
		}
	default:
		return fmt.Errorf("kind %q: read, write or cas", o.Kind)
	}
	switch o.Outcome {
	case "done", "unknown":
	case "refused":
		if o.Kind != "cas" {
			return fmt.Errorf("a %s is never refused", o.Kind)
		}
	default:
		return fmt.Errorf("outcome %q: done, refused or unknown", o.Outcome)
	}
	if o.Outcome == "unknown" && o.Return != 0 {
		return errors.New("an operation of unknown outcome has not returned")
	}
	if o.Outcome != "unknown" && o.Return < o.Call {
		return fmt.Errorf("it returned at %d, before its call at %d", o.Return, o.Call)
	}
	return nil
}
