package planted

// plantedVocabulary are bugs of range deletes, operands, values that end and checkpoints.
// Most have been in other systems, whose issues they name; each has a test that must notice.
var plantedVocabulary = []noticed{
	{plantedBug{"the end of a range delete outside of its table's bounds (rocksdb 2752)", []edit{
		{"sstable/properties.go", "	p.Largest = slices.MaxFunc([]base.InternalKey{p.Largest, largest}, base.Compare)\n", "	_ = slices.MaxFunc([]base.InternalKey{p.Largest, largest}, base.Compare)\n"}}}, "./internal/tests/model", "TestModel"},
	{plantedBug{"a table cut within a key that a range delete begins at", []edit{
		{"internal/output/tables.go", "bytes.Compare(t.stops[0].key, user) <= 0) {", "bytes.Compare(t.stops[0].key, user) < 0) {"}}}, "./internal/output", "TestBorderAtTheLastKey"},
	{plantedBug{"a range delete written beyond its table (cockroach 31752)", []edit{
		{"internal/output/tables.go", "within, t.ranges = within.Clip(nil, next), within.Clip(next, nil)", "t.ranges = within.Clip(next, nil)"}}}, "./internal/tests/model", "TestModel"},
	{plantedBug{"a range delete that hits older snapshots (cockroach 48320)", []edit{
		{"internal/output/retention.go", "r.Ranges.Newest(r.user, r.Readers.End(seq)); r.Readers.stripe(newest) == stripe {", "r.Ranges.Newest(r.user, base.MaxSeq); newest > 0 {"}}}, "./internal/tests/model", "TestModel"},
	{plantedBug{"a range delete that an iterator sees before its time", []edit{
		{"internal/view/covers.go", "c.narrow(l.Window(key, s.seq), s.run)", "c.narrow(l.Window(key, base.MaxSeq), s.run)"}}}, "./internal/tests/model", "TestModel"},
	{plantedBug{"a batch that ignores its own range deletes (rocksdb 6.8)", []edit{
		{"internal/view/get.go", "	if t.Seq() < l.cover {\n", "	if t.Seq()+8 < l.cover {\n"}}}, "./internal/tests/model", "TestModel"},
	{plantedBug{"a newer key hidden by an older range delete", []edit{
		{"internal/view/get.go", "	if t.Seq() < l.cover {\n", "	if l.cover > 0 {\n"}}}, "./internal/tests/model", "TestModel"},
	{plantedBug{"a leap over what a range delete does not cover", []edit{
		{"internal/view/covers.go", "	if !c.hid || c.run >= run {\n", "	if !c.hid {\n"}}}, "./internal/view", "TestEverythingAtEveryNumber"},
	{plantedBug{"range deletes dropped while deeper levels hold what they cover", []edit{
		{"internal/output/retention.go", "r.ElideRange != nil && r.Readers.stripe(kept[oldest]) == 0 && r.ElideRange(s.Start, s.End)", "r.Readers.stripe(kept[oldest]) == 0"}}}, "./internal/tests/model", "TestModel"},
	{plantedBug{"operands folded across a snapshot (slatedb 1054)", []edit{
		{"internal/output/retention.go", "	if !same || stripe != r.stripe {\n", "	if !same {\n"}}}, "./internal/tests/model", "TestModel"},
	{plantedBug{"an operand folded onto a value that ends", []edit{
		{"internal/output/retention.go", "		if _, err := r.settle(nil, false, write); err != nil {\n			return err\n		}\n		return write(key, value)\n",
			"			if folded, err := r.settle(append([]byte{}, value[base.ExpiryBytes:]...), true, write); folded || err != nil {\n				return err\n			}\n			return write(key, value)\n"}}}, "./internal/tests/model", "TestModel"},
	{plantedBug{"an end of a value that deletes operands (slatedb 1060)", []edit{
		{"internal/output/retention.go", "		kind = base.KindDelete\n", "		kind, r.operands = base.KindDelete, nil\n"}}}, "./internal/tests/model", "TestModel"},
	{plantedBug{"a lookup that stops at an operand", []edit{
		{"internal/view/get.go", "		return l.wanted == nothing\n", "		return true\n"}}}, "./internal/tests/model", "TestModel"},
	{plantedBug{"an empty operand taken for nothing", []edit{
		{"internal/output/retention.go", "held: []byte{}, ", ""}}}, "./internal/output", "TestEmptyOperandIsNotNil"},
	{plantedBug{"the length of what operands are merged onto", []edit{
		{"internal/view/get.go", "			l.wanted = everything // the length", "			// the length"}}}, "./internal/tests/model", "TestSizeOfMerged"},
	{plantedBug{"a time that runs back", []edit{
		{"internal/view/clock.go", "		if now <= seen {\n", "		if now == 0 {\n			return seen\n		} else if now < seen {\n			return now\n		} else if now == seen {\n"}}}, "./internal/tests/model", "TestModel"},
	{plantedBug{"a time that a close forgets", []edit{
		{"stages/keeper.go", "	if now := k.published.NotBefore(0); now > k.state.Now {\n", "	if now := int64(0); now > 0 {\n"}}}, "./internal/tests/model", "TestClockRunsBack"},
	{plantedBug{"a value dropped that has not ended for a snapshot", []edit{
		{"internal/output/readers.go", "	return r.Nows[r.stripe(seq)]\n", "	return r.Nows[len(r.Nows)-1]\n"}}}, "./internal/tests/model", "TestModel"},
	{plantedBug{"a checkpoint that forgets the time", []edit{
		{"db/checkpoint.go", "Now: d.published.NotBefore(0), Merger", "Now: 0, Merger"}}}, "./internal/tests/model", "TestClockRunsBack"},
	{plantedBug{"a checkpoint that forgets the operator", []edit{
		{"db/checkpoint.go", ", Merger: d.merger,", ","}}}, "./internal/tests/checkpoint", "TestCopyKnowsTheMerger"},
	{plantedBug{"a checkpoint's directory not synced (cockroach 168820)", []edit{
		{"internal/checkpoint/directory.go", "errors.Join(d.SyncDir(d.dir), d.Check())", "errors.Join(d.Check())"}}}, "./internal/tests/crash", "TestCrashSweep"},
	{plantedBug{"a checkpoint's files not synced (cockroach 168820)", []edit{
		{"internal/checkpoint/directory.go", "	return vfs.WriteFile(d, filepath.Join(d.dir, name), fill)\n", `	file, err := d.Create(filepath.Join(d.dir, name))
	if err != nil {
		return err
	}
	return errors.Join(fill(io.NewOffsetWriter(file, 0)), file.Close())
`}}}, "./internal/tests/crash", "TestCrashSweep"},
	{plantedBug{"a seek to nothing that reads nothing (badger 1289)", []edit{
		{"internal/view/reads.go", "func (w *Walk) note(read span, stands bool) bool {\n", "func (w *Walk) note(read span, stands bool) bool {\n	if !stands {\n		return false\n	}\n"}}}, "./internal/tests/transactions", "TestWhatIsRead"},
	{plantedBug{"a walk that reads the keys alone which it shows (badger 409)", []edit{
		{"internal/view/reads.go", "		read.to = w.end\n", "		read.from, read.to = it.Key(), w.end\n"}}}, "./internal/tests/transactions", "TestWhatIsRead"},
	{plantedBug{"what came between a transaction's look and its turn is not looked at", []edit{
		{"stages/commit.go", "			conflict = w.recent.Changed(c.Reads, c.Through)\n", "			conflict = nil\n"}}}, "./stages", "TestConflictsWithinAGroup"},
	{plantedBug{"a transaction that is late without being told", []edit{
		{"stages/commit.go", "		if c.Through < w.recent.Since() {\n", "		if false {\n"}}}, "./stages", "TestLateCommits"},
	{plantedBug{"range deletes of others that the Writer does not see", []edit{
		{"internal/view/recent.go", "		if c.kind != base.KindRangeDelete {\n", "		if true {\n"}}}, "./internal/tests/transactions", "TestConflictsExactly"},
	{plantedBug{"a load below what is older", []edit{
		{"compactor/policy.go", "			return max(0, level-1)\n", "			return bottom - 1\n"}}}, "./internal/tests/model", "TestModel"},
	{plantedBug{"loaded values older than all others", []edit{
		{"stages/load.go", "		t.Renumber(l.number)\n", "		t.Renumber(1)\n"}}}, "./internal/tests/model", "TestModel"},
	{plantedBug{"tables removed under a checkpoint", []edit{
		{"internal/view/readers.go", "	s.hold()\n	p.past = append(p.past, s)\n	return s\n", "	s.hold()\n	return s\n"}}}, "./internal/tests/checkpoint", "TestPin"},
}
