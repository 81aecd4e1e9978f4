package main

import (
	"bufio"
	"math"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func spawn(n int) (float64, int) {
	var wg sync.WaitGroup
	start := time.Now()
	for i := 0; i < n; i++ {
		wg.Add(1)
		go wg.Done()
		wg.Wait()
	}
	return time.Since(start).Seconds(), n
}

func timer(n int) (float64, int) {
	start := time.Now()
	for i := 0; i < n; i++ {
		if !time.NewTimer(time.Minute).Stop() {
			panic("the timer fired")
		}
	}
	return time.Since(start).Seconds(), n
}

// park starts n goroutines that all wait for the channel it returns to be closed.
func park(n int) chan struct{} {
	gate := make(chan struct{})
	var started sync.WaitGroup
	started.Add(n)
	for i := 0; i < n; i++ {
		go func() {
			started.Done()
			<-gate
		}()
	}
	started.Wait()
	return gate
}

func parkedTime(n int) (float64, int) {
	start := time.Now()
	gate := park(n)
	seconds := time.Since(start).Seconds()
	close(gate)
	return seconds, n
}

func parkedBytes(n int) (float64, int) {
	before := resident()
	gate := park(n)
	bytes := resident() - before
	close(gate)
	return bytes, n
}

// resident is the memory of this process in bytes (Linux).
func resident() float64 {
	runtime.GC()
	status, err := os.Open("/proc/self/status")
	if err != nil {
		panic(err)
	}
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		if field := strings.Fields(lines.Text()); field[0] == "VmRSS:" {
			kb, _ := strconv.ParseFloat(field[1], 64)
			return kb * 1024
		}
	}
	panic("no VmRSS in /proc/self/status")
}

// lateness is how late a sleeper wakes: n sleeps of d, in seconds, the least late first.
func lateness(n int, d time.Duration) []float64 {
	late := make([]float64, n)
	for i := range late {
		start := time.Now()
		time.Sleep(d)
		late[i] = (time.Since(start) - d).Seconds()
	}
	sort.Float64s(late)
	return late
}

// percentile is the value of a sorted list below which a share p of it lies.
func percentile(sorted []float64, p float64) float64 {
	return sorted[int(math.Max(0, math.Ceil(float64(len(sorted))*p)-1))]
}

func sleep(n int) []float64 {
	late := lateness(n, time.Millisecond)
	return []float64{percentile(late, 0.50), percentile(late, 0.99)}
}

func sleepBesideHogs(n int) []float64 {
	for i := 0; i < 4; i++ {
		go func() {
			for {
			}
		}()
	}
	time.Sleep(50 * time.Millisecond)
	return lateness(n, 100*time.Millisecond)[n-1:]
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// cpuShare is the share of a core that the process takes during d.
func cpuShare(d time.Duration) float64 {
	start, cpu := time.Now(), cpuTime()
	time.Sleep(d)
	return float64(cpuTime()-cpu) / float64(time.Since(start))
}

func idle(n int) []float64 {
	gate := park(n)
	time.Sleep(200 * time.Millisecond)
	share := cpuShare(time.Second)
	close(gate)
	return []float64{share}
}

func fib(n int) int {
	if n < 2 {
		return n
	}
	return fib(n-1) + fib(n-2)
}

func compute(jobs, tasks int) time.Duration {
	var wg sync.WaitGroup
	start := time.Now()
	for i := 0; i < tasks; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; i < jobs/tasks; i++ {
				if fib(27) != 196418 {
					panic("not the 27th number")
				}
			}
		}()
	}
	wg.Wait()
	return time.Since(start)
}

func parallel(n int) []float64 {
	alone := compute(n, 1)
	return []float64{float64(compute(n, 2)) / float64(alone)}
}
