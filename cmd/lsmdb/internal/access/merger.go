package access

import (
	"errors"
	"strconv"

	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/db"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
)

// mergers are the operators that the command has, by the names that --merger takes.
var mergers = []struct {
	name   string
	merger *db.Merger
}{{"sum", db.SumInt64}, {"max", db.MaxBytes}, {"append", db.AppendBytes}}

// MergerHelp says what --merger takes.
const MergerHelp = "how operands become values: sum, max or append; needed once, as the database keeps it"

// CheckMerger returns the operator of a name; nil for none.
func CheckMerger(name string) (*db.Merger, error) {
	if name == "" {
		return nil, nil
	}
	for _, m := range mergers {
		if m.name == name {
			return m.merger, nil
		}
	}
	return nil, exit.Usagef("--merger does not take %q: it is sum, max or append", name)
}

// MergerName is the reverse of CheckMerger, for an operator that the database records.
// Others have the name that their program gave them.
func MergerName(recorded string) string {
	for _, m := range mergers {
		if m.merger.Name == recorded {
			return m.name
		}
	}
	return recorded
}

// RecordedMerger returns the operator that the database in dir keeps, where the command
// has that one. What is wrong with the files is told when they are opened.
func RecordedMerger(dir string) (name string, merger *db.Merger) {
	current, err := manifest.ReadCurrent(vfs.OS, dir)
	if err != nil {
		return "", nil
	}
	state, _, err := manifest.Load(vfs.OS, dir, current.Manifest)
	if err != nil {
		return "", nil
	}
	for _, m := range mergers {
		if m.merger.Name == state.Merger {
			return state.Merger, m.merger
		}
	}
	return state.Merger, nil
}

// chooseMerger sets the operator that the database keeps, unless another one was asked
// for, which is an error.
func chooseMerger(dir string, options *db.Options) error {
	name, merger := RecordedMerger(dir)
	switch asked := options.Merger; {
	case asked == nil:
		options.Merger = merger
	case name != "" && asked.Name != name:
		return exit.Usagef("%s merges by %s and keeps to that; --merger %s is another one", dir, MergerName(name), MergerName(asked.Name))
	}
	return nil
}

// ParseOperand reads what is merged. For sum that is a number as people write it, or the
// eight bytes that the database has. Recorded is the name that the database keeps.
func ParseOperand(recorded string, merger *db.Merger, operand []byte) ([]byte, error) {
	switch {
	case merger == nil && recorded != "":
		return nil, exit.Failf(exit.Failed, "the database merges by %q, an operator that this command does not have (it has sum, max and append)", recorded)
	case merger == nil:
		return nil, exit.Usagef("nothing says how to merge here: --merger sum, max or append, when it is opened; the database keeps that")
	case merger != db.SumInt64:
		return operand, nil
	}
	n, err := strconv.ParseInt(string(operand), 10, 64)
	switch {
	case err == nil:
		return AppendNumber(nil, n), nil
	case len(operand) == numberBytes && !errors.Is(err, strconv.ErrRange):
		return operand, nil
	}
	return nil, exit.Usagef("sum wants a whole number of 64 bits, like 5 or -3, not %q", operand)
}
