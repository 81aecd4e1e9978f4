build-address/core/timer.o: core/timer.c core/timer.h core/base.h \
 core/lubdub.h
core/timer.h:
core/base.h:
core/lubdub.h:
