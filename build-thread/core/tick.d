build-thread/core/tick.o: core/tick.c core/tick.h core/chan.h \
 core/waiter.h core/list.h core/timer.h core/base.h core/lubdub.h \
 core/value.h core/engine.h core/random.h core/worker.h
core/tick.h:
core/chan.h:
core/waiter.h:
core/list.h:
core/timer.h:
core/base.h:
core/lubdub.h:
core/value.h:
core/engine.h:
core/random.h:
core/worker.h:
