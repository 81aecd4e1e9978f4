package main

import "time"

func selection(width int, one func(c []chan int) (v, at int)) func(int) (float64, int) {
	return func(n int) (float64, int) {
		c := make([]chan int, width)
		for i := range c {
			ch, v := make(chan int), i
			go func() {
				for {
					ch <- v
				}
			}()
			c[i] = ch
		}
		start := time.Now()
		for i := 0; i < n; i++ {
			if v, at := one(c); v != at {
				panic("not the value of the case")
			}
		}
		return time.Since(start).Seconds(), n
	}
}

func select2(c []chan int) (int, int) {
	select {
	case v := <-c[0]:
		return v, 0
	case v := <-c[1]:
		return v, 1
	}
}

func select8(c []chan int) (int, int) {
	select {
	case v := <-c[0]:
		return v, 0
	case v := <-c[1]:
		return v, 1
	case v := <-c[2]:
		return v, 2
	case v := <-c[3]:
		return v, 3
	case v := <-c[4]:
		return v, 4
	case v := <-c[5]:
		return v, 5
	case v := <-c[6]:
		return v, 6
	case v := <-c[7]:
		return v, 7
	}
}

func select16(c []chan int) (int, int) {
	select {
	case v := <-c[0]:
		return v, 0
	case v := <-c[1]:
		return v, 1
	case v := <-c[2]:
		return v, 2
	case v := <-c[3]:
		return v, 3
	case v := <-c[4]:
		return v, 4
	case v := <-c[5]:
		return v, 5
	case v := <-c[6]:
		return v, 6
	case v := <-c[7]:
		return v, 7
	case v := <-c[8]:
		return v, 8
	case v := <-c[9]:
		return v, 9
	case v := <-c[10]:
		return v, 10
	case v := <-c[11]:
		return v, 11
	case v := <-c[12]:
		return v, 12
	case v := <-c[13]:
		return v, 13
	case v := <-c[14]:
		return v, 14
	case v := <-c[15]:
		return v, 15
	}
}

func selectDefault(n int) (float64, int) {
	ch := make(chan int)
	start := time.Now()
	for i := 0; i < n; i++ {
		select {
		case <-ch:
			panic("a value from nobody")
		default:
		}
	}
	return time.Since(start).Seconds(), n
}
