package main

import (
	"bufio"
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

func sleepPercentile(p float64) workload {
	return func(n int) (float64, int) {
		return lateness(n, time.Millisecond)[int(float64(n-1)*p)], 1
	}
}

func sleepBesideHogs(n int) (float64, int) {
	for i := 0; i < 4; i++ {
		go func() {
			for {
			}
		}()
	}
	time.Sleep(50 * time.Millisecond)
	return lateness(n, 100*time.Millisecond)[n-1], 1
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func idle(n int) (float64, int) {
	gate := park(n)
	time.Sleep(200 * time.Millisecond)
	start, cpu := time.Now(), cpuTime()
	time.Sleep(time.Second)
	share := float64(cpuTime()-cpu) / float64(time.Since(start))
	close(gate)
	return share, 1
}
