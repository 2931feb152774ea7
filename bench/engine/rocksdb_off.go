//go:build !rocksdb

package engine

// optional returns the engines that need a build tag.
func optional() []Kind { return nil }
