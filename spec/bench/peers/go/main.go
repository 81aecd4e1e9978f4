// The workloads of spec/bench in plain Go: `bench NAME N` prints "result AMOUNT OPERATIONS", in seconds, bytes or a
// share; `bench list` prints the names.
package main

import (
	"fmt"
	"os"
	"sort"
	"strconv"
)

type workload func(n int) (amount float64, operations int)

var workloads = map[string]workload{
	"round_trip_fibers":  roundTrip,
	"round_trip_workers": roundTrip,
	"one_way_fibers":     stream(0, integer),
	"one_way_workers":    stream(0, integer),
	"buffered_one":       bufferedOne,
	"buffered_fibers":    stream(1024, integer),
	"buffered_workers":   stream(1024, integer),
	"string_workers":     stream(1024, text),
	"table_workers":      stream(1024, table),
	"select_2":           selection(2, select2),
	"select_8":           selection(8, select8),
	"select_16":          selection(16, select16),
	"select_default":     selectDefault,
	"ring":               ring,
	"jobs":               jobs,
	"sieve":              primes,
	"spawn_fiber":        spawn,
	"timer":              timer,
	"parked_fiber_bytes": parkedBytes,
	"parked_fiber_time":  parkedTime,
	"sleep_p50":          sleepPercentile(0.50),
	"sleep_p99":          sleepPercentile(0.99),
	"sleep_beside_hogs":  sleepBesideHogs,
	"idle_cpu":           idle,
	"beat_lua":           beat,
	"beat_c":             beat,
	"hearts_cpu":         heartsCPU,
	"hearts_cpu_script":  heartsCPU,
	"heart_bytes":        heartBytes,
	"heart_time":         heartTime,
	"detect_p50":         detectPercentile(0.50, 0),
	"detect_p99":         detectPercentile(0.99, 0),
	"detect_busy":        detectPercentile(0.99, 2),
	"detect_beside_hogs": detectPercentile(0.99, 4),
}

// Those that are measured without a warm-up.
var cold = map[string]bool{
	"sieve": true, "parked_fiber_bytes": true, "parked_fiber_time": true,
	"sleep_p50": true, "sleep_p99": true, "sleep_beside_hogs": true, "idle_cpu": true,
	"hearts_cpu": true, "hearts_cpu_script": true, "heart_bytes": true, "heart_time": true,
	"detect_p50": true, "detect_p99": true, "detect_busy": true, "detect_beside_hogs": true,
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
	if len(os.Args) != 3 || workloads[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: bench NAME N | bench list")
		os.Exit(2)
	}
	n, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	run := workloads[os.Args[1]]
	if !cold[os.Args[1]] {
		run(n/10 + 1)
	}
	amount, operations := run(n)
	fmt.Printf("result %.9g %d\n", amount, operations)
}
