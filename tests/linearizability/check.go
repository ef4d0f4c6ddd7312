package main

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// Results of a check.
const (
	linearizable = "linearizable"
	violation    = "violation"
	undecided    = "undecided"
)

// Verdict is what is printed.
type Verdict struct {
	Verdict    string      `json:"verdict"`
	Keys       int         `json:"keys"`
	Operations int         `json:"operations"`
	Unknown    int         `json:"unknown"`
	Violations []Violation `json:"violations,omitempty"`
	Undecided  []string    `json:"undecided,omitempty"`
}

// Violation is a key whose operations no order explains.
type Violation struct {
	Key        string `json:"key"`
	Operations int    `json:"operations"`
	// Excerpt is as much of them as no order explains either: without any one of these there would be one.
	Excerpt []Operation `json:"excerpt"`
}

// register is one key: porcupine searches an order of the operations in which each step is true.
var register = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, input, _ any) (bool, any) {
		holds, operation := state.(int64), input.(Operation)
		switch {
		case operation.Kind == "read":
			return operation.Outcome == "unknown" || operation.Output == holds, holds
		case operation.Kind == "write":
			return true, operation.Input
		case operation.Outcome == "done":
			return operation.Expected == holds, operation.Input
		case operation.Outcome == "refused":
			return operation.Expected != holds, holds
		case operation.Expected == holds:
			return true, operation.Input
		default:
			return true, holds
		}
	},
}

func check(history map[string][]Operation, limit time.Duration) Verdict {
	deadline := time.Now().Add(limit)
	verdict := Verdict{Verdict: linearizable, Keys: len(history)}
	for _, key := range slices.Sorted(maps.Keys(history)) {
		operations := history[key]
		verdict.Operations += len(operations)
		for _, operation := range operations {
			if operation.Outcome == "unknown" {
				verdict.Unknown++
			}
		}
		switch decide(operations, deadline) {
		case porcupine.Illegal:
			excerpt := shrink(operations, deadline)
			verdict.Violations = append(verdict.Violations, Violation{key, len(operations), excerpt})
		case porcupine.Unknown:
			verdict.Undecided = append(verdict.Undecided, key)
		}
	}
	if len(verdict.Violations) > 0 {
		verdict.Verdict = violation
	} else if len(verdict.Undecided) > 0 {
		verdict.Verdict = undecided
	}
	return verdict
}

func decide(operations []Operation, deadline time.Time) porcupine.CheckResult {
	left := time.Until(deadline)
	if left <= 0 {
		// To porcupine no time is all the time.
		return porcupine.Unknown
	}
	var entries []porcupine.Operation
	for _, operation := range operations {
		entries = append(entries, porcupine.Operation{
			ClientId: operation.Client, Input: operation, Call: operation.Call, Return: operation.Return,
		})
	}
	return porcupine.CheckOperationsTimeout(register, entries, left)
}

// shrink takes away what a violation does not need: first all that came after it, then operation by operation.
func shrink(operations []Operation, deadline time.Time) []Operation {
	illegal := func(operations []Operation) bool { return decide(operations, deadline) == porcupine.Illegal }
	returns := []int64{}
	for _, operation := range operations {
		returns = append(returns, operation.Return)
	}
	slices.Sort(returns)
	// What begins like a history that an order explains is explained by the same order.
	low, high := 0, len(returns)-1
	for low < high {
		middle := (low + high) / 2
		if illegal(until(operations, returns[middle])) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	kept := until(operations, returns[high])
	for again := true; again; {
		again = false
		for i := len(kept) - 1; i >= 0; i-- {
			less := slices.Delete(slices.Clone(kept), i, i+1)
			if !needed(kept[i], less) && illegal(less) {
				kept, again = less, true
			}
		}
	}
	slices.SortFunc(kept, func(a, b Operation) int { return cmp.Compare(a.Call, b.Call) })
	for i := range kept {
		if kept[i].Outcome == "unknown" {
			kept[i].Return = 0
		}
	}
	return kept
}

// until gives the history as it was known at this time: what had not returned is unknown.
func until(operations []Operation, end int64) []Operation {
	var begun []Operation
	for _, operation := range operations {
		if operation.Call > end {
			continue
		}
		if operation.Return > end {
			operation.Outcome, operation.Output, operation.Return = "unknown", 0, math.MaxInt64
		}
		begun = append(begun, operation)
	}
	return begun
}

// needed tells of a write that others refer to: without it they would be wrong for another reason than they are.
func needed(operation Operation, others []Operation) bool {
	return operation.Kind != "read" && slices.ContainsFunc(others, func(other Operation) bool {
		return other.Outcome == "refused" && operation.Outcome != "refused" ||
			other.Outcome == "done" && other.Kind == "read" && other.Output == operation.Input ||
			other.Kind == "cas" && other.Expected == operation.Input
	})
}
