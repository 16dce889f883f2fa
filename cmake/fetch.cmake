include(FetchContent)

# Declares what a git repository has at `tag` to FetchContent; further arguments are FetchContent_Declare's. Says in one
# sentence that it is fetched, and stops in one sentence where the repository does not answer: FetchContent would try three
# times and end in fifteen lines that name no cure. `need` is who needs what, `cure` what else to do.
function(eigennorm_declare name repository tag need cure)
  # Not asked where the sources are here, or where a project above says how to get them.
  string(TOLOWER ${name} lower)
  string(TOUPPER ${name} upper)
  get_property(is_declared GLOBAL PROPERTY _FetchContent_${lower}_savedDetails DEFINED)
  if(is_declared OR FETCHCONTENT_SOURCE_DIR_${upper} OR FETCHCONTENT_FULLY_DISCONNECTED
      OR CMAKE_PROJECT_TOP_LEVEL_INCLUDES OR EXISTS "${FETCHCONTENT_BASE_DIR}/${lower}-src/.git")
    message(STATUS "EigenNorm: ${name} is not installed, using what FetchContent has")
  else()
    message(STATUS "${need}, which is not installed: ${cure}. Trying to fetch it ...")
    find_package(Git QUIET)
    if(NOT GIT_FOUND)
      message(FATAL_ERROR "${need}, which is not installed, and git, which would fetch it, is not either: ${cure}.")
    endif()
    execute_process(
      COMMAND ${CMAKE_COMMAND} -E env GIT_TERMINAL_PROMPT=0 ${GIT_EXECUTABLE} ls-remote --exit-code ${repository} ${tag}
      TIMEOUT 60
      RESULT_VARIABLE status OUTPUT_QUIET ERROR_VARIABLE said)
    if(NOT status EQUAL 0)
      string(REGEX REPLACE "[ \r\n]+" " " said "git ls-remote ended with ${status}. ${said}")
      string(STRIP "${said}" said)
      message(FATAL_ERROR "${need}, which is neither installed nor to be had from ${repository}: ${cure}. (${said})")
    endif()
  endif()
  FetchContent_Declare(${name}
    GIT_REPOSITORY ${repository}
    GIT_TAG ${tag}
    GIT_SHALLOW TRUE
    ${ARGN})
endfunction()

# Fetches a header-only library and gives its `folder` of headers to the imported target `target`.
# The library's own CMakeLists.txt is not run: its options, tests and install rules stay out of this build.
function(eigennorm_fetch_headers target folder name)
  eigennorm_declare(${name} ${ARGN} SOURCE_SUBDIR no-cmake-here)
  FetchContent_MakeAvailable(${name})
  FetchContent_GetProperties(${name} SOURCE_DIR source)
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  target_include_directories(${target} INTERFACE ${source}/${folder})
endfunction()
