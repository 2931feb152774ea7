package planted

// plantedLarge are bugs of large commits.
var plantedLarge = []noticed{
	{plantedBug{"a large commit that gets its name before its beginning is synced", []edit{
		{"wal/prepare.go", "	if err := w.file.Sync(); err != nil {\n		return err\n	}\n	return w.Close()", "	return w.Close()"}}}, "./internal/tests/crash", "TestCrashSweep"},
	{plantedBug{"a large commit whose name is not synced", []edit{
		{"wal/prepare.go", "	if err := fs.SyncDir(filepath.Dir(path)); err != nil {", "	if err := error(nil); err != nil {"}}}, "./internal/tests/crash", "TestCrashSweep"},
	{plantedBug{"a large commit under its own name from the beginning", []edit{
		{"wal/prepare.go", "const unplaced = \".tmp\"", "const unplaced = \"\""}}}, "./internal/tests/crash", "TestCrashSweep"},
	{plantedBug{"a large commit that the Writer has to sync", []edit{
		{"wal/prepare.go", "		w.giveBack(w.offset)\n		err = w.Sync()\n", "		w.giveBack(w.offset)\n"}}}, "./wal", "TestPrepareAndPlace"},
	{plantedBug{"a large commit that begins one number too late", []edit{
		{"stages/large.go", "memtable.Follow(w.next - 1)", "memtable.Follow(w.next)"}}}, "./stages", "TestLargeCommitOfAllKinds"},
	{plantedBug{"a refused large commit whose file stays", []edit{
		{"stages/large.go", "	l.dropLog()\n	if l.memtable != nil {", "	if l.memtable != nil {"}}}, "./stages", "TestLargeCommitIsRefused"},
	{plantedBug{"a refused large commit that keeps its place", []edit{
		{"stages/large.go", "	<-l.pipeline.writer.place\n", ""}}}, "./stages", "TestLargeCommitIsRefused"},
	{plantedBug{"a large commit that waits for the Flusher", []edit{
		{"stages/large.go", "	w.pace.work.ahead.Add(s.ahead)\n	return w.flusher.send(ctx, s)", "	w.pace.work.ahead.Add(s.ahead)\n	return w.sendOn(ctx, s)"}}}, "./stages", "TestLargeCommitDoesNotWaitForTheFlusher"},
	{plantedBug{"a large commit with a smaller number than the segment before it", []edit{
		{"stages/large.go", "l.log == nil || l.log.Segment() < previous.Segment", "l.log == nil"}}}, "./stages", "TestLargeCommitIsOvertaken"},
	{plantedBug{"a Close that does not wait for who prepares", []edit{
		{"stages/pipeline.go", "	p.preparing.Wait()\n", ""}}}, "./stages", "TestCloseWaitsForWhoPrepares"},
	{plantedBug{"a large commit into a range that readers skip", []edit{
		{"stages/large.go", "		w.published.Fill(lower, it.Key().UserKey())\n", "		_ = lower\n"}}}, "./internal/tests/large", "TestIntoAGap"},
}
