package workload

import (
	"math"
	"math/rand/v2"
)

// zipf draws ranks from 0 to n-1 with YCSB's skew of 0.99, as in "Quickly
// Generating Billion-Record Synthetic Databases" (Gray et al., 1994). It is
// immutable; clients bring their own source.
type zipf struct {
	n                       int64
	alpha, zeta, eta, theta float64
}

func newZipf(n int64) *zipf {
	z := &zipf{n: n, theta: 0.99}
	zeta := func(n int64) (sum float64) {
		for i := int64(1); i <= n; i++ {
			sum += math.Pow(float64(i), -z.theta)
		}
		return sum
	}
	z.zeta = zeta(n)
	z.alpha = 1 / (1 - z.theta)
	z.eta = (1 - math.Pow(2/float64(n), 1-z.theta)) / (1 - zeta(min(2, n))/z.zeta)
	return z
}

// rank draws: 0 is the most frequent.
func (z *zipf) rank(rng *rand.Rand) int64 {
	u := rng.Float64()
	switch scaled := u * z.zeta; {
	case scaled < 1 || z.n < 2:
		return 0
	case scaled < 1+math.Pow(0.5, z.theta) || z.n == 2:
		return 1
	}
	return min(z.n-1, int64(float64(z.n)*math.Pow(z.eta*u-z.eta+1, z.alpha)))
}

// scattered draws like rank, but spreads the frequent ones over all entries.
func (z *zipf) scattered(rng *rand.Rand) int64 {
	return int64(mix(uint64(z.rank(rng))) % uint64(z.n))
}
