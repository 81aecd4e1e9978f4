build-address/core/engine.o: core/engine.c core/engine.h core/random.h \
 core/worker.h core/waiter.h core/list.h core/timer.h core/base.h \
 core/lubdub.h core/value.h core/chan.h
core/engine.h:
core/random.h:
core/worker.h:
core/waiter.h:
core/list.h:
core/timer.h:
core/base.h:
core/lubdub.h:
core/value.h:
core/chan.h:
