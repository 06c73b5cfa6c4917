create or replace macro images(pattern) as table
    with files as materialized (
        select if(regexp_matches(file, '^(/|\.\.?/)|://'), file, './' || file) as uri
        from glob(pattern)
    ),

    read as materialized (
        select
            uri,
            image_info(uri) as info,
            image_error(uri) as error
        from files
    )

    select
        read.uri,
        read.info.width,
        read.info.height,
        read.info.channels,
        read.info.format,
        read.info.sha256,
        read.info.brightness,
        read.info.sharpness,
        read.error
    from read
