package main

import (
	"sync"
	"time"
)

func roundTrip(n int) (float64, int) {
	ping, pong := make(chan int), make(chan int)
	go func() {
		for v := range ping {
			pong <- v
		}
	}()
	start := time.Now()
	for i := 0; i < n; i++ {
		ping <- i
		if <-pong != i {
			panic("not the value that was sent")
		}
	}
	seconds := time.Since(start).Seconds()
	close(ping)
	return seconds, n
}

func integer(i int) int { return i }

func text(int) string { return "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }

type record struct {
	id   int
	name string
	v    []int
}

// The slice is shared with the receiver, as Go does; the engine under test copies it.
func table(int) record { return record{id: 1, name: "x", v: []int{1, 2, 3}} }

func stream[T any](capacity int, value func(int) T) func(int) (float64, int) {
	return func(n int) (float64, int) {
		ch := make(chan T, capacity)
		go func() {
			defer close(ch)
			for i := 0; i <= n; i++ {
				ch <- value(i)
			}
		}()
		<-ch
		start, count := time.Now(), 0
		for range ch {
			count++
		}
		if count != n {
			panic("values were lost")
		}
		return time.Since(start).Seconds(), n
	}
}

// crowd is several senders to several receivers through one channel.
func crowd(senders, receivers int) func(int) (float64, int) {
	return func(n int) (float64, int) {
		ch, counts := make(chan int, 1024), make(chan int)
		var sending sync.WaitGroup
		start := time.Now()
		for i := 0; i < receivers; i++ {
			go func() {
				count := 0
				for range ch {
					count++
				}
				counts <- count
			}()
		}
		for i := 0; i < senders; i++ {
			sending.Add(1)
			go func() {
				defer sending.Done()
				for i := 1; i <= n/senders; i++ {
					ch <- i
				}
			}()
		}
		sending.Wait()
		close(ch)
		total := 0
		for i := 0; i < receivers; i++ {
			total += <-counts
		}
		if total != n/senders*senders {
			panic("values were lost")
		}
		return time.Since(start).Seconds(), total
	}
}

func bufferedOne(n int) (float64, int) {
	ch := make(chan int, 1024)
	start := time.Now()
	for i := 0; i < n; i++ {
		ch <- i
		if <-ch != i {
			panic("not the value that was sent")
		}
	}
	return time.Since(start).Seconds(), n
}

func ring(n int) (float64, int) {
	const size = 1000
	first := make(chan int)
	from := first
	for i := 1; i < size; i++ {
		left, right := from, make(chan int)
		go func() {
			for v := range left {
				right <- v + 1
			}
		}()
		from = right
	}
	token := 1
	start := time.Now()
	for token <= n {
		first <- token
		token = <-from + 1
	}
	return time.Since(start).Seconds(), token - 1
}

func jobs(n int) (float64, int) {
	queue, sums := make(chan int, 1024), make(chan int)
	start := time.Now()
	for i := 0; i < 8; i++ {
		go func() {
			sum := 0
			for job := range queue {
				sum += job
			}
			sums <- sum
		}()
	}
	for i := 1; i <= n; i++ {
		queue <- i
	}
	close(queue)
	total := 0
	for i := 0; i < 8; i++ {
		total += <-sums
	}
	if total != n*(n+1)/2 {
		panic("jobs were lost")
	}
	return time.Since(start).Seconds(), n
}

func count(out chan<- int) {
	for i := 2; ; i++ {
		out <- i
	}
}

func sieve(from <-chan int, out chan<- int, prime int) {
	for v := range from {
		if v%prime != 0 {
			out <- v
		}
	}
}

func primes(n int) (float64, int) {
	start := time.Now()
	ch, prime := make(chan int), 0
	go count(ch)
	for i := 0; i < n; i++ {
		prime = <-ch
		out := make(chan int)
		go sieve(ch, out, prime)
		ch = out
	}
	if n == 2000 && prime != 17389 {
		panic("not the 2,000th prime")
	}
	return time.Since(start).Seconds(), 1
}
