# Trains nets and writes them, reads and tests them: both must say the same.
execute_process(COMMAND "${program}" --save "${file}" --steps 100 RESULT_VARIABLE saving OUTPUT_VARIABLE saved)
execute_process(COMMAND "${program}" --load "${file}" RESULT_VARIABLE loading OUTPUT_VARIABLE loaded)
message(STATUS "exit codes ${saving} and ${loading}:\n${saved}and\n${loaded}")
if(NOT saving EQUAL 0 OR NOT loading EQUAL 0 OR NOT saved STREQUAL loaded OR NOT saved MATCHES "WeightNorm: test accuracy")
  message(FATAL_ERROR "expected the same scores twice")
endif()
