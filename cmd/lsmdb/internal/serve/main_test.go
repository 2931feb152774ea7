package serve_test

import (
	"testing"

	"lsmdb/cmd/lsmdb/internal/commandtest"
)

func TestMain(m *testing.M) { commandtest.Main(m) }
