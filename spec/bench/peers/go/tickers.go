package main

import (
	"math"
	"sort"
	"sync/atomic"
	"time"
)

// after is how long after the last multiple of the period since start it is.
func after(start time.Time, period time.Duration) float64 {
	return (time.Since(start) % period).Seconds()
}

// oneTicker tells how late ticks come that are due at start + k * period, and the share that never do.
func oneTicker(n int) []float64 {
	const period = time.Millisecond
	var late []float64
	start := time.Now()
	ticker := time.NewTicker(period)
	for time.Since(start) < time.Duration(n)*period {
		<-ticker.C
		late = append(late, after(start, period))
	}
	ticker.Stop()
	sort.Float64s(late)
	return []float64{percentile(late, 0.50), math.Max(0, float64(n-len(late))) / float64(n)}
}

// listen puts into late how late each tick comes while measuring.
func listen(measuring *atomic.Bool, late *[6]float64, count *int) {
	start := time.Now()
	for range time.NewTicker(time.Second).C {
		if measuring.Load() && *count < len(late) {
			late[*count] = after(start, time.Second)
			*count++
		}
	}
}

// tickers is n tickers of 1 s, a goroutine waiting at each, spread over the second; measured for 5 s.
func tickers(n int) []float64 {
	const parts = 100
	var measuring atomic.Bool
	late, counts, sorted := make([][6]float64, n), make([]int, n), []float64{}
	for i := 0; i < n; i++ {
		go listen(&measuring, &late[i], &counts[i])
		if (i+1)%(n/parts) == 0 {
			time.Sleep(time.Second / parts)
		}
	}
	time.Sleep(2 * time.Second)
	measuring.Store(true)
	share := cpuShare(5 * time.Second)
	measuring.Store(false)
	for i, count := range counts {
		sorted = append(sorted, late[i][:count]...)
	}
	sort.Float64s(sorted)
	return []float64{share, percentile(sorted, 0.50), percentile(sorted, 0.99), sorted[len(sorted)-1]}
}
