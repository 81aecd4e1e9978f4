build-thread/core/select.o: core/select.c core/select.h core/chan.h \
 core/waiter.h core/list.h core/timer.h core/base.h core/lubdub.h \
 core/value.h core/random.h core/engine.h core/worker.h
core/select.h:
core/chan.h:
core/waiter.h:
core/list.h:
core/timer.h:
core/base.h:
core/lubdub.h:
core/value.h:
core/random.h:
core/engine.h:
core/worker.h:
