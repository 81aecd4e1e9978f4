package main

import (
	"math/rand"
	"sort"
	"time"
)

// The pattern of "Concurrency in Go": a goroutine pulses at each tick if somebody listens; a monitor with a timer for
// each tells when no pulse came for limit.

// pulse sends without blocking.
func pulse(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

func beats(to chan<- struct{}, interval time.Duration, gate <-chan struct{}) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-gate:
			return
		case <-ticker.C:
			pulse(to)
		}
	}
}

func monitor(from <-chan struct{}, limit time.Duration, gate <-chan struct{}, silent func()) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case <-gate:
			return
		case <-from:
			if !timer.Stop() {
				<-timer.C
			}
			timer.Reset(limit)
		case <-timer.C:
			silent()
			return
		}
	}
}

func unexpected() { panic("a healthy heart is called silent") }

// openHearts starts n that beat at 1 Hz.
func openHearts(n int, gate <-chan struct{}) {
	for i := 0; i < n; i++ {
		to := make(chan struct{}, 1)
		go beats(to, time.Second, gate)
		go monitor(to, 30*time.Second, gate, unexpected)
	}
}

// spreadHearts starts n so that their beats are spread over the second.
func spreadHearts(n int, gate <-chan struct{}) {
	const parts = 100
	for i := 0; i < parts; i++ {
		openHearts(n/parts, gate)
		time.Sleep(time.Second / parts)
	}
}

func beat(n int) (float64, int) {
	to := make(chan struct{}, n)
	start := time.Now()
	for i := 0; i < n; i++ {
		pulse(to)
	}
	return time.Since(start).Seconds(), n
}

func heartsCPU(n int) []float64 {
	gate := make(chan struct{})
	spreadHearts(n, gate)
	time.Sleep(2 * time.Second)
	share := cpuShare(5 * time.Second)
	close(gate)
	return []float64{share}
}

// heartBytes is what the pattern takes beyond a goroutine that is parked without it.
func heartBytes(n int) (float64, int) {
	before := resident()
	bare := park(n)
	between := resident()
	gate := make(chan struct{})
	openHearts(n, gate)
	time.Sleep(2 * time.Second)
	bytes := resident() - between - (between - before)
	close(bare)
	close(gate)
	return bytes, n
}

func heartTime(n int) (float64, int) {
	gate := make(chan struct{})
	start := time.Now()
	openHearts(n, gate)
	seconds := time.Since(start).Seconds()
	close(gate)
	return seconds, n
}

// fallSilent pulses once, and sends to late how long after its deadline the monitor's verdict came.
func fallSilent(limit time.Duration, gate <-chan struct{}, late chan<- time.Duration) {
	to, verdict := make(chan struct{}, 1), make(chan struct{}, 1)
	go monitor(to, limit, gate, func() { verdict <- struct{}{} })
	time.Sleep(limit / 2)
	due := time.Now().Add(limit)
	pulse(to)
	<-verdict
	late <- time.Since(due)
}

// detection is how long after its deadline a silence is told: n hearts, among 100,000 healthy ones, pulse once and then
// never again, while `hogs` goroutines never wait. In seconds, the quickest first.
func detection(n, hogs int) []float64 {
	const limit, spread = 500 * time.Millisecond, 3 * time.Second
	gate, told, late := make(chan struct{}), make(chan time.Duration, n), make([]float64, n)
	spreadHearts(100000, gate)
	for i := 0; i < hogs; i++ {
		go func() {
			for {
			}
		}()
	}
	time.Sleep(time.Second)
	for i := 0; i < n; i++ {
		go func() {
			time.Sleep(time.Duration(rand.Int63n(int64(spread))))
			fallSilent(limit, gate, told)
		}()
	}
	for i := range late {
		late[i] = (<-told).Seconds()
	}
	sort.Float64s(late)
	return late
}

func detect(hogs int, percentiles ...float64) func(int) []float64 {
	return func(n int) (told []float64) {
		late := detection(n, hogs)
		for _, p := range percentiles {
			told = append(told, percentile(late, p))
		}
		return told
	}
}
