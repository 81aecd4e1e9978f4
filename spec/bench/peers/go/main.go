// The workloads of spec/bench in plain Go: `bench NAME N` prints "result AMOUNT OPERATIONS" for each figure, in
// seconds, bytes or a share; `bench list` prints the names, `bench nothing` begins and ends.
package main

import (
	"fmt"
	"os"
	"sort"
	"strconv"
)

type workload struct {
	run  func(n int) []result
	warm bool // whether a run for nothing comes before
}

type result struct {
	amount     float64
	operations int
}

// each is a workload of n like operations.
func each(run func(n int) (amount float64, operations int), warm bool) workload {
	return workload{func(n int) []result {
		amount, operations := run(n)
		return []result{{amount, operations}}
	}, warm}
}

func timed(run func(n int) (seconds float64, operations int)) workload { return each(run, true) }
func cold(run func(n int) (amount float64, operations int)) workload   { return each(run, false) }

// told is a workload of figures that stand for themselves.
func told(run func(n int) []float64) workload {
	return workload{func(n int) (results []result) {
		for _, amount := range run(n) {
			results = append(results, result{amount, 1})
		}
		return results
	}, false}
}

var workloads = map[string]workload{
	"round_trip_fibers":      timed(roundTrip),
	"round_trip_workers":     timed(roundTrip),
	"one_way_fibers":         timed(stream(0, integer)),
	"one_way_workers":        timed(stream(0, integer)),
	"one_way_string_fibers":  timed(stream(0, text)),
	"one_way_string_workers": timed(stream(0, text)),
	"one_way_table_fibers":   timed(stream(0, table)),
	"one_way_table_workers":  timed(stream(0, table)),
	"buffered_one":           timed(bufferedOne),
	"buffered_fibers":        timed(stream(1024, integer)),
	"buffered_workers":       timed(stream(1024, integer)),
	"buffered_many_fibers":   timed(stream(1024, integer)),
	"buffered_many_workers":  timed(stream(1024, integer)),
	"string_fibers":          timed(stream(1024, text)),
	"string_workers":         timed(stream(1024, text)),
	"table_fibers":           timed(stream(1024, table)),
	"table_workers":          timed(stream(1024, table)),
	"fan_in_fibers":          timed(crowd(8, 1)),
	"fan_in_workers":         timed(crowd(8, 1)),
	"four_to_four_fibers":    timed(crowd(4, 4)),
	"four_to_four_workers":   timed(crowd(4, 4)),
	"select_2":               timed(selection(2, select2)),
	"select_8":               timed(selection(8, select8)),
	"select_16":              timed(selection(16, select16)),
	"select_default":         timed(selectDefault),
	"ring":                   timed(ring),
	"jobs":                   timed(jobs),
	"jobs_workers":           timed(jobs),
	"sieve":                  cold(primes),
	"parallel":               told(parallel),
	"spawn_fiber":            timed(spawn),
	"timer":                  timed(timer),
	"parked_fiber_bytes":     cold(parkedBytes),
	"parked_fiber_time":      cold(parkedTime),
	"sleep":                  told(sleep),
	"sleep_beside_hogs":      told(sleepBesideHogs),
	"ticker":                 told(oneTicker),
	"tickers":                told(tickers),
	"idle_cpu":               told(idle),
	"beat_lua":               timed(beat),
	"beat_c":                 timed(beat),
	"hearts_cpu":             told(heartsCPU),
	"hearts_cpu_script":      told(heartsCPU),
	"heart_bytes":            cold(heartBytes),
	"heart_time":             cold(heartTime),
	"detect":                 told(detect(0, 0.50, 0.99)),
	"detect_busy":            told(detect(2, 0.99)),
	"detect_beside_hogs":     told(detect(4, 0.99)),
}

func list() {
	names := make([]string, 0, len(workloads))
	for name := range workloads {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Println(name)
	}
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "list" {
		list()
		return
	}
	if len(os.Args) == 2 && os.Args[1] == "nothing" {
		return
	}
	if len(os.Args) != 3 || workloads[os.Args[1]].run == nil {
		fmt.Fprintln(os.Stderr, "usage: bench NAME N | bench list | bench nothing")
		os.Exit(2)
	}
	n, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	work := workloads[os.Args[1]]
	if work.warm {
		work.run(n/10 + 1)
	}
	for _, r := range work.run(n) {
		fmt.Printf("result %.9g %d\n", r.amount, r.operations)
	}
}
