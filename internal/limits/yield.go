package limits

import "runtime"

// Yield lets everything else that is ready run first. Aegis runs on one processor, where a goroutine that never
// waits keeps going for 10 ms. A peer that always has more to send would delay all others by that, many times over.
func Yield() { runtime.Gosched() }
