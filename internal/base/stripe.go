package base

import "unsafe"

// Stripes is how many parts a counter has that processors must not meet at: each in
// a cache line of its own, StripeBytes.
const (
	Stripes     = 32
	StripeBytes = 64
)

// Stripe chooses the part for the caller, by the address of a local variable, that
// is, by the goroutine's stack: one goroutine mostly keeps to one part, two rarely
// share one.
func Stripe() uint32 {
	var local byte
	address := uintptr(unsafe.Pointer(&local))
	return uint32((address>>11 ^ address>>16) % Stripes)
}
