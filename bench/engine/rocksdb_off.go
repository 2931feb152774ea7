//go:build !rocksdb

package engine

// missing tells how to get the engines that this build lacks.
const missing = "; rocksdb needs -tags rocksdb"

// optional returns the engines that need a build tag.
func optional() []Kind { return nil }
