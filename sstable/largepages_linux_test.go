package sstable

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"lsmdb/internal/budget"
)

// TestCacheGrowsInLargePages: memory that a large cache grows into has pages of 2 MiB, if
// the system has them. That of a small one does not, nor that of a budget, which would
// count less than is taken.
func TestCacheGrowsInLargePages(t *testing.T) {
	if mode, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled"); err != nil || strings.Contains(string(mode), "[never]") {
		t.Skip("no large pages here")
	}
	grow := func(c *Cache, bytes int64) {
		table := &Table{slots: make([]atomic.Pointer[block], bytes>>18)}
		for i := range table.slots {
			c.insert(slot{table, i}, &block{data: make([]byte, 256<<10), table: make([]uint64, 3)})
		}
	}
	small, counted, large := NewCache(1<<30), NewCache(1<<30), NewCache(1<<30)
	counted.Account = budget.Open(budget.New(1 << 40))
	grow(small, smallBytes-(1<<20))
	grow(counted, 4*smallBytes)
	if small.enlarged != 0 || counted.enlarged != 0 {
		t.Errorf("large pages for a small cache: %v, for one under a budget: %v", small.enlarged != 0, counted.enlarged != 0)
	}
	grow(large, 4*smallBytes)
	enlarged := largePages(t)
	for _, at := range large.order.Keys() {
		b, _ := large.order.Peek(at)
		for _, r := range enlarged {
			if address := uintptr(unsafe.Pointer(&b.data[0])); r[0] <= address && address < r[1] {
				return
			}
		}
	}
	t.Errorf("no block of %d lies in any of %d stretches with large pages", large.order.Len(), len(enlarged))
}

// largePages returns the parts of the process's memory that have asked for large pages.
func largePages(t *testing.T) (parts [][2]uintptr) {
	file, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	defer file.Close()
	var start, end uintptr
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		if n, _ := fmt.Sscanf(line, "%x-%x ", &start, &end); n < 2 && strings.HasPrefix(line, "VmFlags:") && strings.Contains(line, " hg") {
			parts = append(parts, [2]uintptr{start, end})
		}
	}
	return parts
}
