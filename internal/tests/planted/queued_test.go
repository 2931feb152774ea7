package planted

// plantedQueued are bugs of writes that are acknowledged when they are queued.
var plantedQueued = []noticed{
	{plantedBug{"reads that do not wait for what is queued", []edit{
		{"db/read.go", "	if d.pipeline != nil && d.pipeline.Behind() {\n", "	if false {\n"}}}, "./internal/tests/queued", "TestReadsWait"},
	{plantedBug{"an iterator that does not wait for what is queued", []edit{
		{"db/iterator.go", "	d.catchUp()\n", ""}}}, "./internal/tests/queued", "TestReadsWait"},
	{plantedBug{"a snapshot that does not wait for what is queued", []edit{
		{"db/read.go", "	if err := d.catchUpUntil(ctx); err != nil {\n		return nil, err\n	}\n	s := ", "	s := "}}}, "./internal/tests/queued", "TestReadsWait"},
	{plantedBug{"a transaction that does not wait for what is queued", []edit{
		{"db/tx.go", "	if err := d.catchUpUntil(ctx); err != nil {\n		return nil, err\n	}\n", ""}}}, "./internal/tests/queued", "TestReadsWait"},
	{plantedBug{"reads that miss what is queued, as the model sees it", []edit{
		{"db/read.go", "	if d.pipeline != nil && d.pipeline.Behind() {\n", "	if false {\n"}}}, "./internal/tests/model", "TestModel"},
	{plantedBug{"reads that miss what is queued, as clients see it", []edit{
		{"db/read.go", "	if d.pipeline != nil && d.pipeline.Behind() {\n", "	if false {\n"}}}, "./internal/tests/linear", "TestLinearizability"},
	{plantedBug{"queued writes counted as visible before they are", []edit{
		{"stages/writer.go", "	w.published.Announce(last)\n	queued := w.stored.Load()\n", "	w.published.Announce(last)\n	queued := w.stored.Load()\n	w.stored.Add(int64(len(w.group)))\n"}}}, "./stages", "TestQueuedAreRecycledOnce"},
	{plantedBug{"queued writes that are never counted as visible", []edit{
		{"stages/writer.go", "			queued++\n", ""}}}, "./internal/tests/queued", "TestFullMailbox"},
	{plantedBug{"reads that wait for what was taken back", []edit{
		{"stages/pipeline.go", "			p.queued.Add(-1)\n", ""}}}, "./internal/tests/queued", "TestFullMailbox"},
	{plantedBug{"a full disk that drops what is queued", []edit{
		{"stages/writer.go", "	if base.IsShortage(shortage) && w.hasQueued() {\n", "	if false {\n"},
		{"stages/segment.go", "		refused := c.count > 0 && !c.Queued\n", "		refused := c.count > 0\n"}}}, "./internal/tests/queued", "TestFullDiskHoldsUp"},
	{plantedBug{"a sync that overtakes what is queued", []edit{
		{"stages/segment.go", "		refused := c.count > 0 && !c.Queued\n", "		refused := !c.Queued\n		if refused && c.count == 0 {\n			c.answer(nil)\n		}\n"}}}, "./internal/tests/queued", "TestOthersAreRefused"},
	{plantedBug{"a queued call recycled twice", []edit{
		{"stages/commit.go", "			c.Recycle()\n", "			c.Recycle()\n			c.Recycle()\n"}}}, "./stages", "TestQueuedAreRecycledOnce"},
	{plantedBug{"a queued call recycled while the Writer has it", []edit{
		{"db/write.go", "			return nil // the Writer gives it back\n", ""}}}, "./internal/tests/queued", "TestManyReadWhatManyQueue"},
	{plantedBug{"a queued call recycled before it is stored", []edit{
		{"stages/writer.go", "		last += base.Seq(c.count)\n		kept = append(kept, c)\n", "		last += base.Seq(c.count)\n		if c.Queued && c.Recycle != nil {\n			c.Recycle()\n		}\n		kept = append(kept, c)\n"}}}, "./stages", "TestQueuedAreRecycledOnce"},
	{plantedBug{"a queued batch that is not lent", []edit{
		{"db/write.go", "	b.lent = b.lent || b.underWay()\n	b.submitted = c\n", ""}}}, "./internal/tests/queued", "TestBatchesAreFree"},
	{plantedBug{"a failure told before queueing ends", []edit{
		{"stages/writer.go", "	if err := w.commit(); err != nil {\n", "	if err := w.commit(); err != nil {\n		w.answer(refused(err))\n"}}}, "./internal/tests/queued", "TestNobodyKnowsOfAFailureSooner"},
	{plantedBug{"a write queued after a failure was told", []edit{
		{"stages/commit.go", "d.isShut || c.Queued && p.ctx.Err() != nil {", "d.isShut {"}}}, "./internal/tests/queued", "TestFailureIsTold"},
	{plantedBug{"a queued write that is changed on its way, and lost without a word", []edit{
		{"stages/writer.go", "	return failure\n", "	return nil\n"}}}, "./stages", "TestQueuedThatCannotBeRead"},
}
