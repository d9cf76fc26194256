"""Several servers: one queue for all, a queue each, impatient jobs, jobs that occupy several servers."""
