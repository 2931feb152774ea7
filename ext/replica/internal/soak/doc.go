// Package soak torments a cluster of three processes and checks that it stays linearizable. It
// consists of tests.
package soak
